"""Tiffin: the noop."""

import tiffin


@tiffin.service
class Noop:
    """Doubles a number."""

    @tiffin.api
    def predict(self, x: float) -> dict[str, float]:
        """Double it."""
        return {"y": x * 2}
