"""Networks other than RawCTCNet, named by `model._target_`; `docs/networks.md` explains how to write one."""
