from seamark.local.engines.ports import kept_ports

NAMES = [f"p{number}" for number in range(40)]


def test_ports_are_not_given_twice_before_who_has_them_listens(tmp_path):
    given = []
    for number in range(25):
        folder = tmp_path / str(number)
        folder.mkdir()
        given += kept_ports(folder, NAMES, {}).values()
    assert len(set(given)) == len(given)


def test_a_folder_keeps_its_ports(tmp_path):
    assert kept_ports(tmp_path, NAMES, {}) == kept_ports(tmp_path, NAMES, {})
    assert kept_ports(tmp_path, NAMES, {"p3": 4711})["p3"] == 4711
