"""Structures are taken over from all tasks by how well they match that of the own task."""

import torch

from lightning_mtl.models.decoder_focused.structure_transfer import StructureTransfer


def structures(tasks: int = 3) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [(2 * torch.randn(2, 9, 4, 5)).softmax(1) for _ in range(tasks)]


@torch.no_grad()
def test_affinities_of_a_pixel_still_sum_to_one_whatever_was_learned():
    transfer, given = StructureTransfer(3), structures()
    transfer.logits.copy_(torch.tensor([3.0, -2.0, 0.5]))
    handed = transfer(given[1], given)
    assert handed.shape == given[1].shape
    torch.testing.assert_close(handed.sum(1), torch.ones(2, 4, 5))


@torch.no_grad()
def test_structures_count_by_their_cosine_with_the_own_one_at_first():
    given = structures()
    handed = StructureTransfer(3)(given[1], given)[1, :, 2, 3]
    windows = torch.stack([structure[1, :, 2, 3] for structure in given])
    cosines = torch.nn.functional.normalize(windows) @ torch.nn.functional.normalize(
        windows[1], dim=0
    )
    torch.testing.assert_close(handed, cosines / cosines.sum() @ windows)


@torch.no_grad()
def test_structures_that_match_alike_are_averaged_by_the_learned_weights():
    transfer, given = StructureTransfer(2), structures(2)
    transfer.logits.copy_(torch.tensor([100.0, 0.0]))
    torch.testing.assert_close(transfer(given[1], given), given[0])


def test_a_structure_without_anything_in_common_is_not_taken_over():
    """Both pixels have one alike neighbour, but another one."""
    own, other = torch.zeros(2, 1, 9, 1, 1)
    own[:, 3] = other[:, 5] = 1
    torch.testing.assert_close(StructureTransfer(2)(own, [own, other]), own)


def test_weights_are_learned():
    transfer, given = StructureTransfer(3), structures()
    transfer(given[0], given).square().sum().backward()
    assert (transfer.logits.grad.abs() > 0).all()
