"""The batcher people write by hand in front of a model: takes what waits, runs it in one thread, no deadlines, no limits."""

import asyncio
from concurrent.futures import ThreadPoolExecutor


class Batcher:
    """Joins concurrent calls of one event loop into batches."""

    def __init__(self, function, max_size):
        self.function = function
        self.max_size = max_size
        self.queue = asyncio.Queue()
        self.pool = ThreadPoolExecutor(1)

    async def run(self):
        """Answer batches until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self.queue.get()]
            while len(batch) < self.max_size and not self.queue.empty():
                batch.append(self.queue.get_nowait())
            try:
                results = await loop.run_in_executor(self.pool, self.function, [item for item, _ in batch])
            except Exception as error:  # the whole batch fails together: that is all this batcher knows
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.cancelled():
                    future.set_result(result)

    async def call(self, item):
        """Put one item into a batch and wait for its result."""
        future = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((item, future))
        return await future
