"""A file system over the network, as far as the kernel can tell: mounts PLACE as KIND and hands everything through to the folder BEHIND.

    python3 fuse.py KIND BEHIND PLACE

Says `mounted` and serves until it is unmounted. One request after the other, nothing cached, locks left to the kernel. Needs root.
"""
import ctypes, errno, os, stat, struct, sys

KIND, BEHIND, PLACE = sys.argv[1:4]
DEVICE = os.open("/dev/fuse", os.O_RDWR)
LIBC = ctypes.CDLL(None, use_errno=True)
OPTIONS = f"fd={DEVICE},rootmode=40000,user_id=0,group_id=0".encode()
if LIBC.mount(b"me@host:/data", PLACE.encode(), KIND.encode(), 0, OPTIONS) != 0:
    sys.exit(f"{PLACE} cannot be mounted: {os.strerror(ctypes.get_errno())}")
print("mounted", flush=True)

PATHS, NODES = {1: ""}, {"": 1}


def at(path):
    return os.path.join(BEHIND, path) if path else BEHIND


def below(node, name):
    return os.path.join(PATHS[node], os.fsdecode(name.rstrip(b"\0")))


def attributes(found):
    seconds = [int(found.st_atime), int(found.st_mtime), int(found.st_ctime)]
    parts = [ns % 10**9 for ns in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)]
    rest = [found.st_mode, found.st_nlink, found.st_uid, found.st_gid, 0, 4096, 0]
    return struct.pack("<6Q10I", found.st_ino, found.st_size, found.st_blocks, *seconds, *parts, *rest)


def entry(path):
    found = os.lstat(at(path))
    node = NODES.setdefault(path, max(PATHS) + 1)
    PATHS[node] = path
    return struct.pack("<4Q2I", node, 0, 0, 0, 0, 0) + attributes(found)


def renamed(old, new):
    os.rename(at(old), at(new))
    NODES.pop(new, None)
    for path in [path for path in NODES if path == old or path.startswith(old + "/")]:
        node = NODES.pop(path)
        PATHS[node] = new + path[len(old):]
        NODES[PATHS[node]] = node
    return b""


def removed(remove, path):
    remove(at(path))
    NODES.pop(path, None)
    return b""


def set_attributes(path, body):
    valid, _, handle, size = struct.unpack_from("<IIQQ", body)
    mode, = struct.unpack_from("<I", body, 68)
    if valid & 1:
        os.chmod(at(path), stat.S_IMODE(mode))
    if valid & 8:
        os.truncate(handle if valid & 64 else at(path), size)
    return struct.pack("<QII", 0, 0, 0) + attributes(os.fstat(handle) if valid & 64 else os.lstat(at(path)))


def names(path, body):
    _, offset, size = struct.unpack_from("<QQI", body)
    listed = b""
    for number, name in enumerate(sorted(os.listdir(at(path)))[offset:], offset + 1):
        raw = os.fsencode(name)
        one = struct.pack("<QQII", 1, number, len(raw), 0) + raw
        one += b"\0" * (-len(one) % 8)
        if len(listed) + len(one) > size:
            break
        listed += one
    return listed


def answer(code, node, body):
    path = PATHS.get(node, "")
    number = lambda form="<Q": struct.unpack_from(form, body)
    if code == 26:  # INIT
        return struct.pack("<4I2H2I2H8I", 7, 31, number("<4I")[2], 1 << 5, 16, 12, 1 << 17, 1, 0, 0, *[0] * 8)
    if code == 1:  # LOOKUP
        return entry(below(node, body))
    if code == 3:  # GETATTR
        flags, _, handle = number("<IIQ")
        return struct.pack("<QII", 0, 0, 0) + attributes(os.fstat(handle) if flags & 1 else os.lstat(at(path)))
    if code == 4:  # SETATTR
        return set_attributes(path, body)
    if code == 9:  # MKDIR
        new = below(node, body[8:])
        os.mkdir(at(new), number("<I")[0] & 0o777)
        return entry(new)
    if code in (10, 11):  # UNLINK, RMDIR
        return removed(os.unlink if code == 10 else os.rmdir, below(node, body))
    if code in (12, 45):  # RENAME, RENAME2
        if code == 45 and number("<QI")[1]:
            raise OSError(errno.EINVAL, "only plain renames")
        old, new = body[16 if code == 45 else 8:].split(b"\0")[:2]
        return renamed(below(node, old), below(number()[0], new))
    if code == 14:  # OPEN
        return struct.pack("<QII", os.open(at(path), number("<I")[0] & ~(os.O_CREAT | os.O_EXCL | os.O_APPEND)), 0, 0)
    if code == 35:  # CREATE
        new = below(node, body[16:])
        flags, mode = number("<II")
        handle = os.open(at(new), (flags | os.O_CREAT) & ~os.O_APPEND, mode & 0o777)
        return entry(new) + struct.pack("<QII", handle, 0, 0)
    if code == 15:  # READ
        return os.pread(*(number("<QQI")[part] for part in (0, 2, 1)))
    if code == 16:  # WRITE
        handle, offset, size = number("<QQI")
        return struct.pack("<II", os.pwrite(handle, body[40:40 + size], offset), 0)
    if code == 17:  # STATFS
        found = os.statvfs(BEHIND)
        return struct.pack("<5Q10I", found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree, found.f_bsize, 255, found.f_frsize, *[0] * 7)
    if code == 18:  # RELEASE
        os.close(number()[0])
        return b""
    if code == 20:  # FSYNC
        os.fsync(number()[0])
        return b""
    if code == 28:  # READDIR
        return names(path, body)
    if code == 27:  # OPENDIR
        return struct.pack("<QII", 0, 0, 0)
    if code in (25, 29, 30, 34, 38):  # FLUSH, RELEASEDIR, FSYNCDIR, ACCESS, DESTROY
        return b""
    raise OSError(errno.ENOSYS, "not here")


while True:
    try:
        request = os.read(DEVICE, 1 << 20)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ECONNABORTED):
            break
        continue
    _, code, unique, node = struct.unpack_from("<IIQQ", request)
    if code in (2, 36, 42):  # FORGET, INTERRUPT, BATCH_FORGET
        continue
    try:
        sent, failed = answer(code, node, request[40:]), 0
    except OSError as error:
        sent, failed = b"", -error.errno
    try:
        os.write(DEVICE, struct.pack("<IiQ", 16 + len(sent), failed, unique) + sent)
    except OSError:
        pass  # Whoever asked is gone.
