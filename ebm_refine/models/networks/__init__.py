"""Network architectures, one family a file. `build` makes one by name; checkpoints name them in `config.json`."""

from typing import Any

from torch import nn

from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator
from ebm_refine.models.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from ebm_refine.models.networks.conditional_resnet import ConditionalResNetGenerator, ProjectionResNetDiscriminator
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from ebm_refine.models.networks.encoder import ContrastiveEncoder
from ebm_refine.models.networks.energy_cnn import EnergyCNN
from ebm_refine.models.networks.labelled import LabelledDiscriminator, LabelledGenerator
from ebm_refine.models.networks.mixture import MixtureGenerator, MixtureLogRatio
from ebm_refine.models.networks.mlp import MLPDiscriminator, MLPGenerator
from ebm_refine.models.networks.own_ratio import SmallerRatio, VectorRatio
from ebm_refine.models.networks.panel_encoders import PanelEncoders
from ebm_refine.models.networks.ratio import FeatureRatio, RatioHead, RatioNetwork
from ebm_refine.models.networks.rbm import DBN, RBM
from ebm_refine.models.networks.residual_gan import ResidualDiscriminator, ResidualGenerator
from ebm_refine.models.networks.resnet import ResNetClassifier

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "autoencoder-discriminator": AutoencoderDiscriminator,
    "conditional-dcgan-generator": ConditionalDCGANGenerator,
    "conditional-resnet-generator": ConditionalResNetGenerator,
    "contrastive-encoder": ContrastiveEncoder,
    "dbn": DBN,
    "dcgan-generator": DCGANGenerator,
    "dcgan-discriminator": DCGANDiscriminator,
    "energy-cnn": EnergyCNN,
    "feature-ratio": FeatureRatio,
    "labelled-discriminator": LabelledDiscriminator,
    "labelled-generator": LabelledGenerator,
    "mixture-generator": MixtureGenerator,
    "mixture-log-ratio": MixtureLogRatio,
    "mlp-generator": MLPGenerator,
    "mlp-discriminator": MLPDiscriminator,
    "panel-encoders": PanelEncoders,
    "projection-dcgan-discriminator": ProjectionDCGANDiscriminator,
    "projection-resnet-discriminator": ProjectionResNetDiscriminator,
    "ratio-network": RatioNetwork,
    "ratio-head": RatioHead,
    "rbm": RBM,
    "residual-discriminator": ResidualDiscriminator,
    "residual-generator": ResidualGenerator,
    "resnet-classifier": ResNetClassifier,
    "smaller-ratio": SmallerRatio,
    "vector-ratio": VectorRatio,
}
# Those that give a log ratio of samples that they are shown.
RATIOS = ("feature-ratio", "ratio-network", "smaller-ratio", "vector-ratio")


def build(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """A freshly initialised network. Raises KeyError for an unknown name, TypeError or ValueError for wrong arguments."""
    return ARCHITECTURES[architecture](**arguments)
