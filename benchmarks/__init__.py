"""Scripts that print one table each; run them as modules, `python -m benchmarks.effective_attention`."""
