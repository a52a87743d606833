"""One bridge, several sessions."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch
from torch import Tensor

from components.bridge import ModelBridge, ssd_inputs
from components.bridge.hook_point import HookPoint
from tests.tiny import random_ids, tiny_model

THREADS = 8


def test_eight_threads_get_what_they_would_get_alone() -> None:
    bridge = ModelBridge(tiny_model())
    prompts = [random_ids(seed, 1, 20 + seed) for seed in range(THREADS)]
    start = Barrier(THREADS)

    def double(tensor: Tensor, hook: HookPoint) -> Tensor:
        return tensor * 2

    def work(seed: int, wait: bool = True) -> list[Tensor]:
        """Threads differ in prompt, in what they keep and in whether they edit."""
        ids, found = prompts[seed], []
        hooks = [("blocks.0.mixer.hook_x", double)] if seed % 2 else []
        keep = ssd_inputs if seed % 3 else None
        if wait:
            start.wait()
        for _ in range(4):
            logits, cache = bridge.run_with_cache(ids, names_filter=keep, fwd_hooks=hooks)
            found += [logits, cache.compute_ssm_effective_attention(1)]
        ids, cache = bridge.generate(ids, max_new_tokens=5, do_sample=False, with_cache=True, fwd_hooks=hooks)
        return [*found, ids, cache.compute_ssm_effective_attention(0)]

    alone = [work(seed, wait=False) for seed in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(work, range(THREADS)))
    for one, other in zip(alone, together, strict=True):
        for expected, found in zip(one, other, strict=True):
            torch.testing.assert_close(found, expected)
