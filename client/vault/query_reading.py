"""What a vault reads of a query before its gate does: a frame, and arrays of the study's shapes."""

from __future__ import annotations

from fedward.client.vault.patient_sums import Arrays
from fedward.client.vault.policy import Refused
from fedward.common.protocol.frame import FrameError
from fedward.common.protocol.queries import Query, decode_query
from fedward.common.protocol.releases import RefusalReason
from fedward.common.study.dimensions import Dimensions


def query_of(frame: bytes) -> tuple[Query, Arrays]:
    """The query of a frame and its arrays; Refused with ``malformed``."""
    try:
        return decode_query(frame)
    except FrameError as error:
        raise Refused(RefusalReason.MALFORMED, str(error)) from error


def check_shapes(dimensions: Dimensions, arrays: Arrays) -> None:
    """Refuse arrays that do not fit the study, with ``wrong_shape``."""
    wanted = {
        "parameters": dimensions.parameters,
        "center": dimensions.columns,
        "scale": dimensions.columns,
    }
    for name, array in arrays.items():
        if array.shape != (wanted[name],):
            raise Refused(
                RefusalReason.WRONG_SHAPE,
                f"{name} has shape {array.shape}; the study needs ({wanted[name]},)",
            )
    if "scale" in arrays and not (arrays["scale"] > 0).all():
        raise Refused(RefusalReason.WRONG_SHAPE, "scale must be above 0 in every column")
