"""How a machine's cores are divided."""

from basecaller.common.workers import Workers, cores, divide


def test_cores_are_divided_never_oversubscribed():
    for workers in (1, 2, 3, 64):
        division = divide(workers, "cpu")
        assert division.threads == max(1, cores() // workers)
    assert divide(None, "cpu") == Workers(cores(), 1)
    assert divide(1, "cpu", threads=1) == Workers(1, 1)  # as the user asked
    assert divide(None, "cpu").count * divide(None, "cpu").threads <= cores()
