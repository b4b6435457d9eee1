"""The audit's report: one page for people who are not cryptographers."""
