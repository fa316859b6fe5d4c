"""Street data sets: labels, layouts, procedural scenes, shards and the training stream. Knows no model."""
