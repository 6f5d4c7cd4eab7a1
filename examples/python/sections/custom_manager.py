"""A manager with classes of one's own: what proxies show, and an iterator through one."""

from multiprocessing.managers import BaseManager, BaseProxy


class Account:
    def __init__(self, balance):
        self._balance = balance

    def deposit(self, amount):
        self._balance += amount
        return self._balance

    def _audit(self):
        return f"audited {self._balance}"


def countdown(start):
    yield from range(start, 0, -1)


class IteratorProxy(BaseProxy):
    _exposed_ = ("__next__",)

    def __iter__(self):
        return self

    def __next__(self):
        return self._callmethod("__next__")


class Bank(BaseManager):
    pass


Bank.register("Account", Account)
Bank.register("Audited", Account, exposed=("deposit", "_audit"))
Bank.register("countdown", countdown, proxytype=IteratorProxy)

if __name__ == "__main__":
    with Bank() as bank:
        account, audited = bank.Account(100), bank.Audited(10)
        print(account.deposit(20), hasattr(account, "_audit"))
        print(audited.deposit(5), audited._audit())
        print(list(bank.countdown(3)))
