"""An operator's hour in minutes: a loop with Prometheus, data that go wrong, a teacher that collapses."""
