"""Everything outgoing: what the door wrote into the outbox, brought to who must hear of it.

    store/events.py: owe -> deliveries (the ledger) -> courier.py: take -> message.py: what it says -> signing.py
                                                          |                                             |
                              store/deliveries.py: note <-+---- webhooks.py: POST, 2xx acknowledges ----+

The courier runs in the worker. No transaction is open while something is sent; whatever is killed in between is sent again
under the same id, and the receiver knows it by that. docs/offboarding.md tells the receiver's side.
"""
