"""One module a peer. Each has `NAME` and `prepare(problem, inputs, threads, build)`, which returns a
call without arguments that computes the output and the final state, or raises `NotMeasured`."""


class NotMeasured(Exception):
    """Why a peer does not take part, as a sentence."""
