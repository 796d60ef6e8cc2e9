"""Tests of AdapterBook."""
