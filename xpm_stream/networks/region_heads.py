"""The heads on pooled regions: embedding, class-agnostic boxes, class-agnostic masks, pixel noise."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class EmbeddingHead(nn.Module):
    """RoI features to visual embeddings in the text space (h_emb of Eq. 1) and class-agnostic box deltas."""

    def __init__(self, in_channels: int, *, pool_size: int, hidden: int, text_dimension: int) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(in_channels * pool_size**2, hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.embedding = nn.Linear(hidden, text_dimension)
        self.box_deltas = nn.Linear(hidden, 4)
        for hidden_layer in (self.hidden1, self.hidden2):
            nn.init.kaiming_normal_(hidden_layer.weight, nonlinearity="relu")
            nn.init.zeros_(hidden_layer.bias)
        # A small start: with cosine logits, large random embeddings need long to turn.
        nn.init.normal_(self.embedding.weight, std=0.01)
        nn.init.zeros_(self.embedding.bias)
        nn.init.normal_(self.box_deltas.weight, std=0.001)
        nn.init.zeros_(self.box_deltas.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """[R, C, p, p] -> embeddings [R, D] and deltas [R, 4], float32."""
        x = functional.relu(self.hidden1(pooled.flatten(1)))
        x = functional.relu(self.hidden2(x))
        return self.embedding(x).float(), self.box_deltas(x).float()

    def of_cells(self, pooled: Tensor) -> Tensor:
        """[R, C, p, p] -> embeddings [R, p, p, D], float32: of regions that look all over as each cell does."""
        cells = pooled.permute(0, 2, 3, 1)
        # A region of equal cells meets the sum of a channel's weights.
        weight = self.hidden1.weight.view(-1, pooled.shape[1], pooled.shape[2] * pooled.shape[3]).sum(dim=2)
        x = functional.relu(functional.linear(cells, weight, self.hidden1.bias))
        embeddings: Tensor = self.embedding(functional.relu(self.hidden2(x)))
        return embeddings.float()


class MaskHead(nn.Module):
    """RoI features to class-agnostic mask logits and, from the mask feature, pixel noise (g_noise).

    The noise head sees a detached feature unless `noise_shapes_masks`; its output is a log variance, so that variance
    is positive without a bound.
    """

    def __init__(self, in_channels: int, *, channels: int, num_convs: int, noise_shapes_masks: bool = False) -> None:
        super().__init__()
        self._noise_shapes_masks = noise_shapes_masks
        layers: list[nn.Module] = []
        for index in range(num_convs):
            layers += [
                nn.Conv2d(in_channels if index == 0 else channels, channels, 3, padding=1),
                nn.ReLU(inplace=True),
            ]
        self.convs = nn.Sequential(*layers)
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.noise = nn.Conv2d(channels, 1, 1)
        for module in [*self.convs, self.upsample]:
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(_bias(module))
        nn.init.normal_(self.mask.weight, std=0.01)
        nn.init.zeros_(_bias(self.mask))
        nn.init.normal_(self.noise.weight, std=0.001)
        nn.init.ones_(_bias(self.noise))

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """[R, C, g / 2, g / 2] -> mask logits and noise log variances, each [R, g, g], float32."""
        feature = functional.relu(self.upsample(self.convs(pooled)), inplace=True)
        noise_feature = feature if self._noise_shapes_masks else feature.detach()
        return self.mask(feature)[:, 0].float(), self.noise(noise_feature)[:, 0].float()


def _bias(module: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert module.bias is not None
    return module.bias
