"""Networks: RawCTCNet, and others that `model._target_` names; `docs/networks.md` explains how to write one."""
