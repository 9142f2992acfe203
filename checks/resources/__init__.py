"""Checks of rate budgets and fairness."""
