from tests.servers.seaweedfs import SeaweedFs


def test_a_bucket_keeps_versions_and_locks_them(seaweedfs_server: SeaweedFs) -> None:
    bucket = seaweedfs_server.bucket()
    client = bucket.client(bucket.admin)
    first = client.put_object(Bucket=bucket.name, Key="a", Body=b"first")["VersionId"]
    client.put_object(Bucket=bucket.name, Key="a", Body=b"second")
    answer = client.get_object(Bucket=bucket.name, Key="a", VersionId=first)
    assert answer["Body"].read() == b"first"
    assert answer["ObjectLockMode"] == "COMPLIANCE"


def test_buckets_do_not_share_their_identities(seaweedfs_server: SeaweedFs) -> None:
    one, other = seaweedfs_server.bucket(), seaweedfs_server.bucket()
    assert one.key("writer") != other.key("writer")
    assert one.key("writer") == one.key("writer")
