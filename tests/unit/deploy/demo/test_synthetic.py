from itertools import islice

from deploy.demo.synthetic import synthetic_visitors


def test_synthetic_visitors_vary_and_repeat_with_the_same_seed() -> None:
    first = list(islice(synthetic_visitors(seed=7), 500))
    assert first == list(islice(synthetic_visitors(seed=7), 500))
    assert len({request.target for request in first}) == 500
    assert len({request.address for request in first}) > 8
