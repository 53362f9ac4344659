"""BentoML: the noop."""

import bentoml


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Noop:
    """Doubles a number."""

    @bentoml.api
    async def predict(self, x: float) -> dict[str, float]:
        """Double it; `async`, which is BentoML's faster form here."""
        return {"y": x * 2}
