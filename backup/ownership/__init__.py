"""The deeds of the owner and the custodians, who meet seldom and by ceremony.

writers, domains, custodians, keepers     who may do what, signed anew; `domain_keys`
plans         a deed fixed to the byte before its first step
attest        how a custodian shows that he agreed; `papers` that people hand each other
erasure       of a domain, by two persons: `erasure_order`, `erasure_certificate`
challenge     does each custodian's key still open?  `custodian` how key records name them
roster        who may do what; `card`, `card_page` the recovery card
"""
