"""Parameters by how they should learn."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from unwarp.checks import check_positive
from unwarp.nn.localization import CentroidLocalization, Localization
from unwarp.nn.probabilistic import ProbabilisticLocalization
from unwarp.nn.spatial_transformer import SpatialTransformer


def parameter_groups(model: nn.Module, *, lr: float, localization_factor: float = 1.0) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, with a learning rate of their own for all localization networks in `model`.

    That is every `Localization` and `CentroidLocalization`, and whatever a `SpatialTransformer` has for one.
    Too large a step of theta throws the picture out of the output, and the gradient with it; the paper's factor for
    SVHN is 0.1, for birds 1e-4 (arXiv 1506.02025, A.5 and A.6). What says where they start is a group without weight
    decay: the biases of theta hold the identity, which would shrink to a point, those of a distribution its spread, and
    learned control points their places.
    """
    check_positive("lr", lr)
    check_positive("localization_factor", localization_factor, allow_zero=True)
    networks: list[nn.Module] = []
    starts: list[nn.Parameter] = []
    for module in model.modules():
        match module:
            case SpatialTransformer():
                networks += [module.localization, module.transform]
                starts += module.transform.parameters()
            case Localization():
                networks.append(module)
                starts.append(module.head.bias)
            case ProbabilisticLocalization():
                starts.append(module.log_spread.bias)
            case CentroidLocalization():
                networks.append(module)
    starts = list(dict.fromkeys(starts))
    kept = {id(start) for start in starts}
    found = [p for p in dict.fromkeys(_parameters(networks)) if id(p) not in kept]
    special = kept | {id(parameter) for parameter in found}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in special]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": lr, "name": "network"}]
    for name, parameters, decay in (("localization", found, {}), ("start", starts, {"weight_decay": 0.0})):
        if parameters:
            groups.append({"params": parameters, "lr": lr * localization_factor, "name": name, **decay})
    return groups


def _parameters(modules: Iterable[nn.Module]) -> Iterable[nn.Parameter]:
    return (parameter for module in modules for parameter in module.parameters())
