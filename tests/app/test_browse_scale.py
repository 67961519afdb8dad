"""A time line shows what took time and shrinks what did not."""

from app.browse.scale import WIDTH, scale

SECOND = 1_000_000_000


def test_a_busy_line_without_pauses_keeps_its_proportions() -> None:
    ruler = scale([(0, 3 * SECOND), (3 * SECOND, 4 * SECOND)])
    assert ruler.at(3 * SECOND) == 750
    assert ruler.gaps() == []


def test_a_wait_of_two_days_shrinks_to_a_gap_that_says_how_long_it_was() -> None:
    ruler = scale([(0, SECOND), (172_800 * SECOND, 172_801 * SECOND)])
    (gap,) = ruler.gaps()
    assert gap["width"] == 70
    assert gap["seconds"] == 172_799
    assert ruler.bar(0, SECOND)["width"] > 400


def test_a_short_pause_is_drawn_as_long_as_it_was() -> None:
    ruler = scale([(0, 4 * SECOND), (5 * SECOND, 10 * SECOND)])
    assert ruler.gaps() == []
    assert ruler.at(5 * SECOND) == 500


def test_many_gaps_leave_half_the_width_to_what_was_busy() -> None:
    ruler = scale([(day * 86_400 * SECOND, day * 86_400 * SECOND + SECOND) for day in range(100)])
    assert sum(gap["width"] for gap in ruler.gaps()) <= WIDTH / 2 + 99 * 0.1


def test_moments_without_length_are_drawn_inside_the_line() -> None:
    ruler = scale([(SECOND, SECOND), (9 * SECOND, 9 * SECOND)])
    for moment in (SECOND, 9 * SECOND):
        bar = ruler.bar(moment, moment)
        assert 0 <= bar["left"] <= WIDTH - bar["width"]


def test_nothing_recorded_draws_nothing() -> None:
    assert scale([]).gaps() == []
