import Emission
import Execution
import Schedules
import Targets

/// A kernel that was built for this session, with what it was made from.
struct BuiltKernel {
  var kernel: EmittedKernel
  var target: Target
  var library: String
  var builder: Builder
}

extension KernelRequest {
  /// Emits and builds, through the cache.
  func build(_ tools: ToolOptions) async throws -> BuiltKernel {
    let (specification, kernel) = try emit(Host.detect())
    let builder = try await tools.builder()
    return try await buildLibrary(kernel, for: specification.target, with: builder)
  }
}

/// Builds a kernel's library, through the cache.
func buildLibrary(
  _ kernel: EmittedKernel, for target: Target, with builder: Builder
) async throws -> BuiltKernel {
  progress("building \(kernel.name)")
  let job = builder.job(kernel.source, for: target)
  let entry = try await KernelCache().entry(
    for: job, description: kernel.name.description, builder: builder)
  if let notice = entry.notice { progress(notice) }
  return BuiltKernel(kernel: kernel, target: target, library: entry.product, builder: builder)
}
