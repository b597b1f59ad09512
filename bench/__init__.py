"""`make bench`: what syncd costs, as ratios of two things measured in turn in one run. Never part of the tests."""
