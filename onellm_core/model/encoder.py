"""The universal encoder: one frozen vision tower that reads every modality's tokens.

B batch, L tokens of one signal (without the class token), D width of the tower.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class OpenClipEncoder(nn.Module):
    """The vision transformer of a CLIP model, as open_clip builds it.

    Unlike CLIP's own forward pass it takes tokens from anywhere, returns every token after the
    last norm, and never applies CLIP's final projection (which stays in the weights unused, so
    that a checkpoint can be given back whole).

    Args:
        image_size: Side of a picture in pixels.
        patch_size: Side of a patch in pixels.
        width: D.
        layers: Number of transformer blocks.
        heads: Attention heads of each.
        mlp_ratio: Hidden size of the MLP over D.
        output_dim: Width of CLIP's unused final projection.
        quick_gelu: OpenAI's sigmoid approximation of GELU; must be as the weights were trained.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: float = 4.0,
        output_dim: int = 768,
        quick_gelu: bool = False,
    ) -> None:
        super().__init__()
        from open_clip.transformer import QuickGELU, VisionTransformer

        self.width = width
        self.image_size = image_size
        self.patch_size = patch_size
        self.tower = VisionTransformer(
            image_size=image_size,
            patch_size=patch_size,
            width=width,
            layers=layers,
            heads=heads,
            mlp_ratio=mlp_ratio,
            output_dim=output_dim,
            act_layer=QuickGELU if quick_gelu else nn.GELU,
        )
        # Length first, as CLIP was written: with the batch first, attention transposes its input, and for
        # an input that needs a gradient and weights that do not PyTorch then copies the weights for every
        # token (about 20 times slower on a CPU).
        self.tower.transformer.batch_first = False
        for block in self.tower.transformer.resblocks:
            block.attn.batch_first = False

    @property
    def positions(self) -> Tensor:
        """The tower's own position table, ``[1 + L, D]``, for pictures."""
        return self.tower.positional_embedding

    def patch_tokens(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` → ``[B, L, D]``, row by row, without positions."""
        return self.tower.conv1(images).flatten(2).transpose(1, 2)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Read tokens of any modality.

        Args:
            tokens: ``[B, L, D]``.
            positions: ``[1 + L, D]``; row 0 belongs to the class token.

        Returns:
            ``[B, 1 + L, D]``: the class token and every token, after the last norm.
        """
        tower = self.tower
        class_token = tower.class_embedding.expand(tokens.shape[0], 1, -1)
        x = torch.cat([class_token.to(tokens.dtype), tokens], dim=1) + positions.to(tokens.dtype)
        return tower.ln_post(tower.transformer(tower.ln_pre(x)))
