"""Runs that finish by themselves: an engine starts, stores, wakes, retries and hands over runs."""
