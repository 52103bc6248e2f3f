"""What holds for all tests."""

from hypothesis import settings

# A test never fails on speed: Hypothesis' own limit of 200 ms an example would, on a busy machine.
settings.register_profile("seamark", deadline=None)
settings.load_profile("seamark")
