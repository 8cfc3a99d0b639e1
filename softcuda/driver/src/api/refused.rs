//! Entry points that softcuda knows by name only: textures, arrays, inter-process memory, virtual memory management, green contexts
//! and the rest. They exist so that a program that resolves every symbol when it starts can run, and answer `CUDA_ERROR_NOT_SUPPORTED`.

use super::entry;
use super::result::CUresult;

macro_rules! refused {
    ($($name:ident),* $(,)?) => {
        $(
            /// Not supported. The arguments are not looked at: in the C calling convention the caller places and removes them.
            #[unsafe(no_mangle)]
            pub extern "C" fn $name() -> CUresult {
                entry(|| Err(crate::state::modes::explain(CUresult::NOT_SUPPORTED, concat!(stringify!($name), " is not supported"))))
            }
        )*
    };
}

#[rustfmt::skip]
refused! {
    cuArray3DCreate_v2, cuArray3DGetDescriptor_v2, cuArrayCreate_v2, cuArrayDestroy, cuArrayGetDescriptor_v2,
    cuArrayGetMemoryRequirements, cuArrayGetPlane, cuArrayGetSparseProperties, cuCoredumpDeregisterCompleteCallback,
    cuCoredumpDeregisterStartCallback, cuCoredumpGetAttribute, cuCoredumpGetAttributeGlobal, cuCoredumpRegisterCompleteCallback,
    cuCoredumpRegisterStartCallback, cuCoredumpSetAttribute, cuCoredumpSetAttributeGlobal, cuCtxFromGreenCtx, cuCtxGetDevResource,
    cuCtxGetExecAffinity, cuCtxRecordEvent, cuCtxWaitEvent, cuDestroyExternalMemory, cuDestroyExternalSemaphore,
    cuDevResourceGenerateDesc, cuDevSmResourceSplit, cuDevSmResourceSplitByCount, cuDeviceGetCliqueCount, cuDeviceGetCliqueInfo,
    cuDeviceGetDevResource, cuDeviceGetFabricClusterUuid, cuDeviceGetHostAtomicCapabilities, cuDeviceGetLuid,
    cuDeviceGetP2PAtomicCapabilities, cuDeviceGetTexture1DLinearMaxWidth, cuDeviceRegisterAsyncNotification,
    cuDeviceUnregisterAsyncNotification, cuExternalMemoryGetMappedBuffer, cuExternalMemoryGetMappedMipmappedArray,
    cuFlushGPUDirectRDMAWrites, cuFuncSetBlockShape, cuFuncSetSharedSize, cuGetExportTable, cuGraphAddBatchMemOpNode,
    cuGraphAddExternalSemaphoresSignalNode, cuGraphAddExternalSemaphoresWaitNode, cuGraphAddNode_v3, cuGraphBatchMemOpNodeGetParams,
    cuGraphBatchMemOpNodeSetParams, cuGraphChildGraphNodeGetGraph, cuGraphConditionalHandleCreate, cuGraphExecBatchMemOpNodeSetParams,
    cuGraphExecExternalSemaphoresSignalNodeSetParams, cuGraphExecExternalSemaphoresWaitNodeSetParams, cuGraphExecGetId,
    cuGraphExternalSemaphoresSignalNodeGetParams, cuGraphExternalSemaphoresSignalNodeSetParams,
    cuGraphExternalSemaphoresWaitNodeGetParams, cuGraphExternalSemaphoresWaitNodeSetParams, cuGraphGetId, cuGraphNodeGetLocalId,
    cuGraphNodeGetParams, cuGraphNodeGetToolsId, cuGraphNodeSetParams_v2, cuGraphicsMapResources,
    cuGraphicsResourceGetMappedMipmappedArray, cuGraphicsResourceGetMappedPointer_v2, cuGraphicsResourceSetMapFlags_v2,
    cuGraphicsSubResourceGetMappedArray, cuGraphicsUnmapResources, cuGraphicsUnregisterResource, cuGreenCtxCreate, cuGreenCtxDestroy,
    cuGreenCtxGetDevResource, cuGreenCtxGetId, cuGreenCtxRecordEvent, cuGreenCtxStreamCreate,
    cuGreenCtxWaitEvent, cuImportExternalMemory, cuImportExternalSemaphore, cuIpcCloseMemHandle, cuIpcGetEventHandle, cuIpcGetMemHandle,
    cuIpcOpenEventHandle, cuIpcOpenMemHandle_v2, cuLaunch, cuLaunchCooperativeKernelMultiDevice, cuLaunchGrid, cuLaunchGridAsync,
    cuLogicalEndpointAddDevice, cuLogicalEndpointBindAddr, cuLogicalEndpointBindMem, cuLogicalEndpointCreate, cuLogicalEndpointDestroy,
    cuLogicalEndpointExport, cuLogicalEndpointGetLimits, cuLogicalEndpointIdRelease, cuLogicalEndpointIdReserve, cuLogicalEndpointImport,
    cuLogicalEndpointQuery, cuLogicalEndpointUnbind, cuLogsCurrent, cuLogsDumpToFile, cuLogsDumpToMemory, cuLogsRegisterCallback,
    cuLogsUnregisterCallback, cuMemAddressFree, cuMemAddressReserve, cuMemBatchDecompressAsync, cuMemCreate,
    cuMemDiscardAndPrefetchBatchAsync, cuMemDiscardBatchAsync, cuMemExportToShareableHandle, cuMemGetAccess,
    cuMemGetAllocationGranularity, cuMemGetAllocationPropertiesFromHandle, cuMemGetDefaultMemPool, cuMemGetHandleForAddressRange,
    cuMemGetLocationInfo, cuMemGetMemPool, cuMemImportFromShareableHandle, cuMemMap, cuMemMapArrayAsync, cuMemPoolExportPointer,
    cuMemPoolExportToShareableHandle, cuMemPoolImportFromShareableHandle, cuMemPoolImportPointer, cuMemPrefetchBatchAsync, cuMemRelease,
    cuMemRetainAllocationHandle, cuMemSetAccess, cuMemSetMemPool, cuMemUnmap, cuMemcpy3DBatchAsync, cuMemcpy3DBatchAsync_v2,
    cuMemcpy3DWithAttributesAsync, cuMemcpyAtoA_v2, cuMemcpyAtoD_v2, cuMemcpyAtoHAsync_v2, cuMemcpyAtoH_v2, cuMemcpyBatchAsync,
    cuMemcpyBatchAsync_v2, cuMemcpyDtoA_v2, cuMemcpyHtoAAsync_v2, cuMemcpyHtoA_v2, cuMemcpyWithAttributesAsync, cuMipmappedArrayCreate,
    cuMipmappedArrayDestroy, cuMipmappedArrayGetLevel, cuMipmappedArrayGetMemoryRequirements, cuMipmappedArrayGetSparseProperties,
    cuMulticastAddDevice, cuMulticastBindAddr, cuMulticastBindAddr_v2, cuMulticastBindMem, cuMulticastBindMem_v2, cuMulticastCreate,
    cuMulticastGetGranularity, cuMulticastUnbind, cuParamSetSize, cuParamSetTexRef, cuParamSetf, cuParamSeti, cuParamSetv,
    cuProfilerInitialize, cuSignalExternalSemaphoresAsync, cuStreamBatchMemOp, cuStreamBatchMemOp_v2, cuStreamBeginCaptureToCig,
    cuStreamBeginRecaptureToGraph, cuStreamEndCaptureToCig, cuStreamGetDevResource, cuStreamGetGreenCtx, cuStreamWaitValue32,
    cuStreamWaitValue32_v2, cuStreamWaitValue64, cuStreamWaitValue64_v2, cuStreamWriteValue32, cuStreamWriteValue32_v2,
    cuStreamWriteValue64, cuStreamWriteValue64_v2, cuSurfObjectCreate, cuSurfObjectDestroy, cuSurfObjectGetResourceDesc,
    cuSurfRefGetArray, cuSurfRefSetArray, cuTensorMapEncodeIm2col, cuTensorMapEncodeIm2colWide, cuTensorMapEncodeTiled,
    cuTensorMapReplaceAddress, cuTexObjectCreate, cuTexObjectDestroy, cuTexObjectGetResourceDesc, cuTexObjectGetResourceViewDesc,
    cuTexObjectGetTextureDesc, cuTexRefCreate, cuTexRefDestroy, cuTexRefGetAddressMode, cuTexRefGetAddress_v2, cuTexRefGetArray,
    cuTexRefGetBorderColor, cuTexRefGetFilterMode, cuTexRefGetFlags, cuTexRefGetFormat, cuTexRefGetMaxAnisotropy,
    cuTexRefGetMipmapFilterMode, cuTexRefGetMipmapLevelBias, cuTexRefGetMipmapLevelClamp, cuTexRefGetMipmappedArray,
    cuTexRefSetAddress2D_v3, cuTexRefSetAddressMode, cuTexRefSetAddress_v2, cuTexRefSetArray, cuTexRefSetBorderColor,
    cuTexRefSetFilterMode, cuTexRefSetFlags, cuTexRefSetFormat, cuTexRefSetMaxAnisotropy, cuTexRefSetMipmapFilterMode,
    cuTexRefSetMipmapLevelBias, cuTexRefSetMipmapLevelClamp, cuTexRefSetMipmappedArray, cuWaitExternalSemaphoresAsync,
}
