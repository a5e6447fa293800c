"""How good a result is, and a model: metrics, figures, natural pairs."""
