"""LitServe: DistilBERT, batched."""

import litserve as ls

from benchmarks.models import BERT_BATCH, Bert
from benchmarks.peers.litserve_api import serve


class Api(ls.LitAPI):
    """Classifies texts."""

    def setup(self, device):
        """Load the model."""
        self.model = Bert()

    def decode_request(self, request):
        """Take the text."""
        return request["text"]

    def batch(self, inputs):
        """Keep the texts as they came."""
        return list(inputs)

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
    serve(Api(api_path="/predict", max_batch_size=BERT_BATCH, batch_timeout=0.01))
