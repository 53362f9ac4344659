"""LitServe: the MLP, batched."""

import litserve as ls
import numpy as np

from benchmarks.models import MLP_BATCH, Mlp
from benchmarks.peers.litserve_api import serve


class Api(ls.LitAPI):
    """Classifies rows."""

    def setup(self, device):
        """Load the model."""
        self.model = Mlp()

    def decode_request(self, request):
        """Take the row."""
        return np.asarray(request["x"], dtype=np.float32)

    def batch(self, inputs):
        """Stack rows."""
        return np.stack(inputs)

    def predict(self, x):
        """Classify a batch."""
        return self.model(x)

    def unbatch(self, output):
        """Split into rows."""
        return list(output)

    def encode_response(self, output):
        """Answer a list."""
        return output.tolist()


if __name__ == "__main__":
    serve(Api(api_path="/predict", max_batch_size=MLP_BATCH, batch_timeout=0.001))
