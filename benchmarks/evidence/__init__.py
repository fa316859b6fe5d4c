"""Does Rein generalise? Three studies with real weights and real streets, small enough for two CPU cores.

    python -m benchmarks.evidence prepare --data DATA              shards, once
    python -m benchmarks.evidence run A --weights DINOV2_VITS14    trains what is not trained yet; may be killed
    python -m benchmarks.evidence page                             docs/evidence.md from the runs in MLflow

`studies.py` says what is compared, `recipes/` how it is trained, `streets.py` on what.
"""
