"""What the keeper's runs are made of.

key           the keeper's own, on another machine than the writer's
view          everything it goes by, as it was at one moment
retention     how long points are kept: rules by time; `plan` what a run would change, pure
locks         which to extend, and which hold it back
stock         what the vault's bytes are for, and when they can be freed
"""
