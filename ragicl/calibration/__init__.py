"""Distributions over labels: pooled, calibrated and judged. Arrays alone, no index, no model."""
