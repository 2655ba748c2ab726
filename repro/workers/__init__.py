"""Workers: processes that each run one backend, and the client that sends them requests."""
