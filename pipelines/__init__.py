"""The jobs (ingest, train, evaluate, predict, register) and the command line over them."""
