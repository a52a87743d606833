"""A training that was stopped and taken up again ends where an uninterrupted one does."""

from pathlib import Path

import pytest
import torch

from components.demo.train import LOSS_WEIGHTS, Recipe, Training, training_batch

MINIATURE = Recipe(layers=1, hidden=32, heads=8, state=8, steps=6, batch=2, tokens=32, warm_up=2)


def _advanced(training: Training, steps: int) -> Training:
    for _ in range(steps):
        training.advance()
    return training


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    started = Training(MINIATURE)
    fresh = {name: value.clone() for name, value in started.model.state_dict().items()}
    _advanced(started, 3).save(checkpoint)

    resumed = Training(MINIATURE)
    resumed.resume(checkpoint)
    assert (resumed.step, resumed.seconds) == (3, started.seconds)
    _advanced(resumed, 3)

    whole = _advanced(Training(MINIATURE), 6).model.state_dict()
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, whole[name]), name
        assert not torch.equal(value, fresh[name]), f"{name} was never trained"


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    Training(MINIATURE).save(checkpoint)
    with pytest.raises(ValueError, match="another recipe"):
        Training(Recipe(layers=1, hidden=32, heads=8, state=8, steps=7)).resume(checkpoint)


def test_a_batch_depends_on_its_step_alone_and_weighs_answers_most() -> None:
    vocabulary = Training(MINIATURE).vocabulary
    ids, weights = training_batch(Recipe(), vocabulary, step=5_000)
    again, _ = training_batch(Recipe(), vocabulary, step=5_000)
    other, _ = training_batch(Recipe(), vocabulary, step=5_001)
    assert torch.equal(ids, again)
    assert not torch.equal(ids, other)
    assert ids.shape == weights.shape == (Recipe().batch, Recipe().tokens)
    assert 0.05 < (weights == LOSS_WEIGHTS["^"]).float().mean() < 0.3
