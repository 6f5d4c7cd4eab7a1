"""Managers: dictionaries, lists and namespaces that live in a server process."""

import multiprocessing


def change(mapping, items, namespace):
    mapping["child"] = "was here"
    mapping["nested"]["deep"] = True
    items.reverse()
    namespace.total = sum(items)


if __name__ == "__main__":
    with multiprocessing.Manager() as manager:
        mapping = manager.dict(nested=manager.dict())
        items, namespace = manager.list(range(5)), manager.Namespace()
        child = multiprocessing.Process(target=change, args=(mapping, items, namespace))
        child.start()
        child.join()
        print(mapping["child"], dict(mapping["nested"]))
        print(list(items), namespace)
