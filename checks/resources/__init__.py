"""Checks of rate budgets, and of fairness between devices."""
