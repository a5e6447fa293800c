"""How good a model is: metrics, the protocol that cards quote, and reports."""
