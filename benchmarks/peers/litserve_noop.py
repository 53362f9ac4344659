"""LitServe: the noop."""

import litserve as ls

from benchmarks.peers.litserve_api import serve


class Noop(ls.LitAPI):
    """Doubles a number."""

    def setup(self, device):
        """Load nothing."""

    def decode_request(self, request):
        """Take the number."""
        return request["x"]

    def predict(self, x):
        """Double it."""
        return x * 2

    def encode_response(self, output):
        """Name it."""
        return {"y": output}


if __name__ == "__main__":
    serve(Noop(api_path="/predict"))
