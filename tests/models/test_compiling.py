"""What is compiled to be differentiated once for each task."""

import pytest
import torch
import torch._functorch.config

from lightning_mtl.models.compiling import differentiable_again


@pytest.mark.skipif(
    not hasattr(torch.compiler.config, "cache_key_tag"), reason="torch 2.6 has no such key"
)
def test_it_shares_no_cache_with_plain_runs_but_with_others_of_its_kind() -> None:
    config = torch.compiler.config
    with config.patch(cache_key_tag="mine "):
        with differentiable_again():
            tag = config.cache_key_tag
            with differentiable_again():
                assert config.cache_key_tag == tag
        assert config.cache_key_tag == "mine " != tag
        assert tag.startswith("mine ")


def test_it_keeps_what_the_forward_pass_has_saved_and_no_longer() -> None:
    before = torch._functorch.config.donated_buffer
    with differentiable_again():
        assert not torch._functorch.config.donated_buffer
    assert torch._functorch.config.donated_buffer is before
