"""The head of HRNet predicts at the size of the finest features, from all scales."""

import torch

from lightning_mtl.models.decoder_focused.fusion_head import FusionHead


def test_every_scale_has_a_say_in_a_prediction_at_the_finest_size():
    torch.manual_seed(0)
    scales = [
        torch.rand(2, width, 16 // 2**scale, 16 // 2**scale, requires_grad=True)
        for scale, width in enumerate((3, 4, 5))
    ]
    prediction = FusionHead((3, 4, 5), channels=2)(scales)
    assert prediction.shape == (2, 2, 16, 16)
    gradients = torch.autograd.grad(prediction.square().sum(), scales)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
