"""Networks other than RawCTCNet, named by `model._target_`; `docs/networks.md` says how to write one."""
