from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tiffin.batching.deadlines import Wheel
from tiffin.batching.profile import Profile


def test_nothing_is_known_at_first() -> None:
    profile = Profile(100)
    assert profile.predict(1) == profile.predict(100) == profile.predict(1000) == 0.0


def test_sizes_not_seen_are_guessed_from_their_neighbours() -> None:
    profile = Profile(64)
    profile.observe(8, 0.010)
    assert profile.predict(1) == 0.010, "no faster than the next larger one, as far as is known"
    assert profile.predict(8) == 0.010
    assert 0.010 < profile.predict(16) < profile.predict(64) < 0.080, "batches pay off"
    profile.observe(1, 0.004)
    assert profile.predict(1) == 0.004
    assert profile.predict(4) == 0.010
    profile.observe(64, 0.020)
    assert profile.predict(16) == 0.020


def test_more_rows_than_a_run_takes_are_several_runs() -> None:
    profile = Profile(10)
    profile.observe(20, 0.2)
    assert profile.predict(10) == 0.1
    assert profile.predict(30) == 0.3 or abs(profile.predict(30) - 0.3) < 1e-12


def test_a_slow_first_run_is_soon_forgotten() -> None:
    profile = Profile(1)
    profile.observe(1, 10.0)
    for _ in range(12):
        profile.observe(1, 0.005)
    assert profile.predict(1) < 0.02


def test_one_slow_run_among_many_moves_little() -> None:
    profile = Profile(1)
    for _ in range(20):
        profile.observe(1, 0.010)
    profile.observe(1, 0.020)
    assert 0.010 < profile.predict(1) <= 0.0121


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(1e-6, 100.0)), min_size=1))
def test_predictions_stay_within_what_was_seen(runs: list[tuple[int, float]]) -> None:
    profile = Profile(40)
    for rows, seconds in runs:
        profile.observe(rows, seconds)
    largest = max(seconds for _, seconds in runs)
    for rows in range(1, 41):
        assert 0.0 < profile.predict(rows) <= largest * 1.5**6 * 1.000001


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.booleans()), max_size=50), st.lists(st.floats(0.0, 0.3), max_size=20))
def test_a_wheel_gives_everything_once_and_in_time(entries: list[tuple[float, bool]], steps: list[float]) -> None:
    wheel = Wheel()
    for key, (at, _) in enumerate(entries):
        wheel.add(key, at)
    for key, (at, gone) in enumerate(entries):
        if gone:
            wheel.discard(key, at)
    wheel.discard(999, 1.0)
    wanted = {key: at for key, (at, gone) in enumerate(entries) if not gone}
    assert len(wheel) == len(wanted)
    now = 0.0
    for step in [*steps, 5.0]:
        now += step
        due = wheel.due(now)
        assert set(due) == {key for key, at in wanted.items() if at <= now}
        assert [wanted[key] for key in due] == sorted(wanted[key] for key in due)
        for key in due:
            del wanted[key]
    assert not wanted
    assert not wheel._buckets
