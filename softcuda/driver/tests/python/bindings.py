"""NVIDIA's own Python bindings of the driver API (package cuda-bindings) on softcuda.

The bindings find the library as any program finds a driver, resolve every symbol by cuGetProcAddress, and know the
structures of the API from NVIDIA's headers: what softcuda got wrong by reading them would show here.
"""

import ctypes
import pathlib

import numpy
from cuda.bindings import driver

PTX = (pathlib.Path(__file__).parent.parent / "kernels.ptx").read_bytes()
Result = driver.CUresult


def ok(result):
    """The values of a call that must succeed."""
    code, *values = result
    assert code == Result.CUDA_SUCCESS, code
    return values[0] if len(values) == 1 else values


def refused(result, code):
    assert result[0] == code, f"{result[0]}, expected {code}"


def pack(*arguments):
    """Kernel arguments as the bindings take them: values, then their ctypes."""
    return tuple(a.value for a in arguments), tuple(type(a) for a in arguments)


class Multiply(ctypes.Structure):
    """The one parameter of the kernel `multiply`."""

    _fields_ = [
        ("input", ctypes.c_uint64),
        ("output", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("factor", ctypes.c_uint32),
    ]


class Fixture:
    def __init__(self):
        ok(driver.cuInit(0))
        self.device = ok(driver.cuDeviceGet(0))
        self.context = ok(driver.cuDevicePrimaryCtxRetain(self.device))
        ok(driver.cuCtxSetCurrent(self.context))
        self.module = ok(driver.cuModuleLoadData(PTX))
        self.stream = ok(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))

    def upload(self, array):
        address = ok(driver.cuMemAlloc(array.nbytes))
        ok(driver.cuMemcpyHtoD(address, array.ctypes.data, array.nbytes))
        return address

    def download(self, address, count, dtype=numpy.uint32):
        array = numpy.empty(count, dtype)
        ok(driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, self.stream))
        ok(driver.cuStreamSynchronize(self.stream))
        return array

    def multiply(self, function, source, target, count, factor, stream=None):
        parameter = Multiply(int(source), int(target), count, factor)
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(parameter))
        blocks = (count + 127) // 128
        stream = self.stream if stream is None else stream
        return driver.cuLaunchKernel(function, blocks, 1, 1, 128, 1, 1, 0, stream, ctypes.addressof(pointers), 0)


def device_is_described(f):
    assert ok(driver.cuDeviceGetCount()) == 1
    assert ok(driver.cuDeviceGetName(64, f.device)).startswith(b"softcuda (sm_")
    attribute = driver.CUdevice_attribute
    numbers = [attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, attribute.CU_DEVICE_ATTRIBUTE_WARP_SIZE]
    assert [ok(driver.cuDeviceGetAttribute(n, f.device)) for n in numbers] in ([8, 32], [9, 32])
    assert len(ok(driver.cuDeviceGetUuid(f.device)).bytes) == 16
    assert ok(driver.cuDeviceTotalMem(f.device)) == 16 << 30
    assert ok(driver.cuDriverGetVersion()) == 13000
    free, total = ok(driver.cuMemGetInfo())
    assert 0 < free <= total
    refused(driver.cuDeviceGet(1), Result.CUDA_ERROR_INVALID_DEVICE)


def context_is_current(f):
    assert int(ok(driver.cuCtxGetCurrent())) == int(f.context)
    assert int(ok(driver.cuCtxGetDevice())) == 0
    flags, active = ok(driver.cuDevicePrimaryCtxGetState(f.device))
    assert (flags, active) == (0, 1)


def kernel_multiplies(f):
    function = ok(driver.cuModuleGetFunction(f.module, b"multiply"))
    host = numpy.arange(1000, dtype=numpy.uint32)
    source, target = f.upload(host), f.upload(numpy.zeros_like(host))
    ok(f.multiply(function, source, target, 1000, 5))
    assert (f.download(target, 1000) == host * 15).all()
    for address in (source, target):
        ok(driver.cuMemFree(address))


def arguments_are_packed_by_the_bindings(f):
    function = ok(driver.cuModuleGetFunction(f.module, b"staged"))
    out = f.upload(numpy.zeros(64, numpy.uint32))
    arguments = pack(ctypes.c_uint64(int(out)))
    ok(driver.cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 256, f.stream, arguments, 0))
    assert (f.download(out, 64) == numpy.arange(64)).all()
    config = driver.CUlaunchConfig()
    config.gridDimX = config.gridDimY = config.gridDimZ = 1
    config.blockDimX, config.blockDimY, config.blockDimZ = 32, 1, 1
    config.sharedMemBytes, config.hStream = 128, f.stream
    ok(driver.cuMemsetD32(out, 7, 64))
    ok(driver.cuLaunchKernelEx(config, function, arguments, 0))
    assert f.download(out, 64).tolist() == list(range(32)) + [7] * 32
    ok(driver.cuMemFree(out))


def attributes_and_occupancy_have_answers(f):
    function = ok(driver.cuModuleGetFunction(f.module, b"staged"))
    attribute = driver.CUfunction_attribute
    assert ok(driver.cuFuncGetAttribute(attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function)) == 64
    dynamic = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    ok(driver.cuFuncSetAttribute(function, dynamic, 64 << 10))
    assert ok(driver.cuFuncGetAttribute(dynamic, function)) == 64 << 10
    assert ok(driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(function, 64, 0)) > 0
    assert ok(driver.cuFuncGetName(function)) == b"staged"
    assert ok(driver.cuFuncGetParamInfo(function, 0)) == [0, 8]


def library_belongs_to_no_context(f):
    library = ok(driver.cuLibraryLoadData(PTX, [], [], 0, [], [], 0))
    assert ok(driver.cuLibraryGetKernelCount(library)) == 4
    kernel = ok(driver.cuLibraryGetKernel(library, b"multiply"))
    assert ok(driver.cuKernelGetName(kernel)) == b"multiply"
    function = ok(driver.cuKernelGetFunction(kernel))
    host = numpy.full(8, 3, numpy.uint32)
    data = f.upload(host)
    ok(f.multiply(function, data, data, 8, 2))
    ok(f.multiply(driver.CUfunction(int(kernel)), data, data, 8, 2))
    assert (f.download(data, 8) == 3 * 6 * 6).all()
    assert ok(driver.cuLibraryGetGlobal(library, b"scale"))[1] == 4
    refused(driver.cuLibraryGetKernel(library, b"nothing"), Result.CUDA_ERROR_NOT_FOUND)
    ok(driver.cuLibraryUnload(library))
    refused(driver.cuKernelGetName(kernel), Result.CUDA_ERROR_INVALID_HANDLE)
    ok(driver.cuMemFree(data))


def linker_takes_ptx(f):
    state = ok(driver.cuLinkCreate(0, [], []))
    ok(driver.cuLinkAddData(state, driver.CUjitInputType.CU_JIT_INPUT_PTX, PTX, len(PTX), b"kernels", 0, [], []))
    address, size = ok(driver.cuLinkComplete(state))
    image = ctypes.string_at(int(address), size)
    ok(driver.cuLinkDestroy(state))
    module = ok(driver.cuModuleLoadData(image))
    ok(driver.cuModuleGetFunction(module, b"poke"))
    ok(driver.cuModuleUnload(module))


def compiler_log_names_the_line(f):
    broken = PTX.replace(b"mul.lo.s32 %r8", b"frobnicate.s32 %r8")
    log = bytearray(512)
    option = driver.CUjit_option
    options = [option.CU_JIT_ERROR_LOG_BUFFER, option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES]
    refused(driver.cuModuleLoadDataEx(broken, 2, options, [log, len(log)]), Result.CUDA_ERROR_INVALID_PTX)
    assert b"frobnicate" in log, log


def streams_and_events_order_and_time(f):
    other = ok(driver.cuStreamCreateWithPriority(driver.CUstream_flags.CU_STREAM_NON_BLOCKING, -1))
    start, end = ok(driver.cuEventCreate(0)), ok(driver.cuEventCreate(0))
    data = f.upload(numpy.zeros(4, numpy.uint32))
    ok(driver.cuEventRecord(start, f.stream))
    ok(driver.cuMemsetD32Async(data, 9, 4, f.stream))
    ok(driver.cuEventRecord(end, f.stream))
    ok(driver.cuStreamWaitEvent(other, end, 0))
    ok(driver.cuEventSynchronize(end))
    assert ok(driver.cuEventElapsedTime(start, end)) >= 0.0
    ok(driver.cuEventQuery(end))
    assert (f.download(data, 4) == 9).all()
    ok(driver.cuStreamDestroy(other))
    refused(driver.cuStreamSynchronize(other), Result.CUDA_ERROR_INVALID_HANDLE)
    ok(driver.cuMemFree(data))


def memory_of_every_kind(f):
    pool = ok(driver.cuDeviceGetDefaultMemPool(f.device))
    data = ok(driver.cuMemAllocFromPoolAsync(64, pool, f.stream))
    ok(driver.cuMemsetD8Async(data, 0xA5, 64, f.stream))
    pinned = ok(driver.cuMemHostAlloc(64, 0))
    ok(driver.cuMemcpyDtoHAsync(pinned, data, 64, f.stream))
    ok(driver.cuStreamSynchronize(f.stream))
    assert ctypes.string_at(int(pinned), 64) == b"\xa5" * 64
    ok(driver.cuMemFreeHost(pinned))
    ok(driver.cuMemFreeAsync(data, f.stream))
    managed = ok(driver.cuMemAllocManaged(16, driver.CUmemAttach_flags.CU_MEM_ATTACH_GLOBAL.value))
    ctypes.memset(int(managed), 1, 16)
    assert (f.download(managed, 16, numpy.uint8) == 1).all()
    ok(driver.cuMemFree(managed))
    data, pitch = ok(driver.cuMemAllocPitch(100, 4, 4))
    assert pitch >= 100
    ok(driver.cuMemsetD2D8(data, pitch, 3, 100, 4))
    host = numpy.zeros((4, 100), numpy.uint8)
    copy = driver.CUDA_MEMCPY2D()
    copy.srcMemoryType, copy.srcDevice, copy.srcPitch = driver.CUmemorytype.CU_MEMORYTYPE_DEVICE, data, pitch
    copy.dstMemoryType, copy.dstHost, copy.dstPitch = driver.CUmemorytype.CU_MEMORYTYPE_HOST, host.ctypes.data, 100
    copy.WidthInBytes, copy.Height = 100, 4
    ok(driver.cuMemcpy2D(copy))
    assert (host == 3).all()
    ok(driver.cuMemFree(data))


def captured_graph_replays(f):
    function = ok(driver.cuModuleGetFunction(f.module, b"multiply"))
    data = f.upload(numpy.ones(4, numpy.uint32))
    ok(driver.cuStreamBeginCapture(f.stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
    ok(f.multiply(function, data, data, 4, 2))
    ok(driver.cuMemsetD32Async(int(data) + 12, 1, 1, f.stream))
    graph = ok(driver.cuStreamEndCapture(f.stream))
    nodes, count = ok(driver.cuGraphGetNodes(graph, 2))
    assert count == 2
    kind = driver.CUgraphNodeType
    kinds = [ok(driver.cuGraphNodeGetType(node)) for node in nodes]
    assert kinds == [kind.CU_GRAPH_NODE_TYPE_KERNEL, kind.CU_GRAPH_NODE_TYPE_MEMSET], kinds
    executable = ok(driver.cuGraphInstantiate(graph, 0))
    for _ in range(3):
        ok(driver.cuGraphLaunch(executable, f.stream))
    assert f.download(data, 4).tolist() == [216, 216, 216, 1]
    ok(driver.cuGraphExecDestroy(executable))
    ok(driver.cuGraphDestroy(graph))
    ok(driver.cuMemFree(data))


def graph_made_by_hand_runs(f):
    data = f.upload(numpy.zeros(8, numpy.uint32))
    graph = ok(driver.cuGraphCreate(0))
    fill = driver.CUDA_MEMSET_NODE_PARAMS()
    fill.dst, fill.value, fill.elementSize, fill.width, fill.height = data, 5, 4, 8, 1
    first = ok(driver.cuGraphAddMemsetNode(graph, [], 0, fill, f.context))
    function = ok(driver.cuModuleGetFunction(f.module, b"multiply"))
    parameter = Multiply(int(data), int(data), 8, 7)
    pointers = (ctypes.c_void_p * 1)(ctypes.addressof(parameter))
    launch = driver.CUDA_KERNEL_NODE_PARAMS()
    launch.func, launch.kernelParams = function, ctypes.addressof(pointers)
    launch.gridDimX = launch.gridDimY = launch.gridDimZ = 1
    launch.blockDimX, launch.blockDimY, launch.blockDimZ = 32, 1, 1
    ok(driver.cuGraphAddKernelNode(graph, [first], 1, launch))
    executable = ok(driver.cuGraphInstantiate(graph, 0))
    ok(driver.cuGraphLaunch(executable, f.stream))
    assert (f.download(data, 8) == 105).all()
    ok(driver.cuMemFree(data))


def nodes_of_any_kind_are_added_and_read(f):
    data = f.upload(numpy.ones(8, numpy.uint32))
    graph = ok(driver.cuGraphCreate(0))
    kind = driver.CUgraphNodeType
    fill = driver.CUgraphNodeParams()
    fill.type = kind.CU_GRAPH_NODE_TYPE_MEMSET
    fill.memset.dst, fill.memset.value, fill.memset.elementSize = data, 2, 4
    fill.memset.width, fill.memset.height, fill.memset.ctx = 8, 1, f.context
    first = ok(driver.cuGraphAddNode(graph, [], None, 0, fill))
    function = ok(driver.cuModuleGetFunction(f.module, b"multiply"))
    parameter = Multiply(int(data), int(data), 8, 11)
    pointers = (ctypes.c_void_p * 1)(ctypes.addressof(parameter))
    launch = driver.CUgraphNodeParams()
    launch.type = kind.CU_GRAPH_NODE_TYPE_KERNEL
    launch.kernel.func, launch.kernel.kernelParams = function, ctypes.addressof(pointers)
    launch.kernel.gridDimX = launch.kernel.gridDimY = launch.kernel.gridDimZ = 1
    launch.kernel.blockDimX, launch.kernel.blockDimY, launch.kernel.blockDimZ = 32, 1, 1
    second = ok(driver.cuGraphAddNode(graph, [first], None, 1, launch))
    event = ok(driver.cuEventCreate(0))
    record = driver.CUgraphNodeParams()
    record.type, record.eventRecord.event = kind.CU_GRAPH_NODE_TYPE_EVENT_RECORD, event
    third = ok(driver.cuGraphAddNode(graph, [second], None, 1, record))
    assert int(ok(driver.cuGraphEventRecordNodeGetEvent(third))) == int(event)
    kept = ok(driver.cuGraphKernelNodeGetParams(second))
    [place] = (ctypes.c_void_p * 1).from_address(int(kept.kernelParams))
    assert Multiply.from_address(place).factor == 11
    found = ok(driver.cuGraphMemsetNodeGetParams(first))
    assert (int(found.dst), found.value, found.width) == (int(data), 2, 8)
    executable = ok(driver.cuGraphInstantiate(graph, 0))
    ok(driver.cuGraphLaunch(executable, f.stream))
    assert (f.download(data, 8) == 66).all()
    ok(driver.cuGraphNodeSetEnabled(executable, first, 0))
    ok(driver.cuGraphLaunch(executable, f.stream))
    assert (f.download(data, 8) == 66 * 33).all()
    ok(driver.cuEventQuery(event))
    ok(driver.cuMemFree(data))


def pools_are_made(f):
    properties = driver.CUmemPoolProps()
    properties.allocType = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    properties.location.type, properties.location.id = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE, 0
    properties.maxSize = 4096
    pool = ok(driver.cuMemPoolCreate(properties))
    data = ok(driver.cuMemAllocFromPoolAsync(4096, pool, f.stream))
    refused(driver.cuMemAllocFromPoolAsync(1, pool, f.stream), Result.CUDA_ERROR_OUT_OF_MEMORY)
    used = driver.CUmemPool_attribute.CU_MEMPOOL_ATTR_USED_MEM_CURRENT
    assert int(ok(driver.cuMemPoolGetAttribute(pool, used))) == 4096
    ok(driver.cuMemFreeAsync(data, f.stream))
    ok(driver.cuMemPoolDestroy(pool))


def misuse_is_refused(f):
    refused(driver.cuMemFree(0xDEAD), Result.CUDA_ERROR_INVALID_VALUE)
    refused(driver.cuMemAlloc(1 << 50), Result.CUDA_ERROR_OUT_OF_MEMORY)
    refused(driver.cuModuleGetFunction(f.module, b"nothing"), Result.CUDA_ERROR_NOT_FOUND)
    refused(driver.cuModuleLoadData(b"hello\0"), Result.CUDA_ERROR_INVALID_IMAGE)
    function = ok(driver.cuModuleGetFunction(f.module, b"give_up"))
    refused(driver.cuLaunchKernel(function, 1, 1, 1, 2048, 1, 1, 0, 0, 0, 0), Result.CUDA_ERROR_INVALID_VALUE)
    name = ok(driver.cuGetErrorName(Result.CUDA_ERROR_INVALID_VALUE))
    assert name == b"CUDA_ERROR_INVALID_VALUE"
    assert ok(driver.cuGetErrorString(Result.CUDA_ERROR_INVALID_VALUE)) == b"invalid argument"


def faulting_kernel_breaks_the_context(f):
    """The last one: nothing works after it."""
    function = ok(driver.cuModuleGetFunction(f.module, b"poke"))
    ok(driver.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, f.stream, pack(ctypes.c_uint64(0x100000)), 0))
    refused(driver.cuStreamSynchronize(f.stream), Result.CUDA_ERROR_ILLEGAL_ADDRESS)
    refused(driver.cuMemAlloc(4), Result.CUDA_ERROR_ILLEGAL_ADDRESS)


CHECKS = [
    device_is_described,
    context_is_current,
    kernel_multiplies,
    arguments_are_packed_by_the_bindings,
    attributes_and_occupancy_have_answers,
    library_belongs_to_no_context,
    linker_takes_ptx,
    compiler_log_names_the_line,
    streams_and_events_order_and_time,
    memory_of_every_kind,
    captured_graph_replays,
    graph_made_by_hand_runs,
    nodes_of_any_kind_are_added_and_read,
    pools_are_made,
    misuse_is_refused,
    faulting_kernel_breaks_the_context,
]

if __name__ == "__main__":
    fixture = Fixture()
    for check in CHECKS:
        print(f"{check.__name__} ...", flush=True)
        check(fixture)
    print(f"{len(CHECKS)} checks passed")
