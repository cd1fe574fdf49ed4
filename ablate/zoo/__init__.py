"""The reference parts behind `conf/`: handwritten digits, a classifier, and the shifts to test it under."""
