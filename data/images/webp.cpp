#include <memory>

#include <webp/decode.h>
#include <webp/demux.h>

#include "data/images/codec.h"
#include "data/images/image.h"

namespace vitral::data {

bool is_webp(Bytes bytes) { return holds(bytes, 0, "RIFF") && holds(bytes, 8, "WEBP"); }

// Of an animation the first frame on its canvas, which begins black.
Decoded decode_webp(Bytes bytes, const std::string& name, std::int64_t /*min_side*/) {
  const WebPData file{bytes.data(), bytes.size()};
  const std::unique_ptr<WebPDemuxer, void (*)(WebPDemuxer*)> demuxer(WebPDemux(&file), WebPDemuxDelete);
  WebPIterator frame{};
  const std::unique_ptr<WebPIterator, void (*)(WebPIterator*)> release_frame(&frame,
                                                                             WebPDemuxReleaseIterator);
  if (!demuxer || !WebPDemuxGetFrame(demuxer.get(), 1, &frame) || !frame.complete)
    throw_error("{}: corrupt WebP: the file is truncated or damaged", name);
  const std::int64_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const std::int64_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  check_image_size(name, "WebP", width, height, max_image_pixels);
  int frame_width = 0, frame_height = 0;
  if (!WebPGetInfo(frame.fragment.bytes, frame.fragment.size, &frame_width, &frame_height) ||
      frame.x_offset + frame_width > width || frame.y_offset + frame_height > height)
    throw_error("{}: corrupt WebP: its first frame is not within its canvas", name);

  Decoded out{Tensor::zeros({height, width, 3}, DType::uint8)};
  const std::int64_t stride = 3 * width, first = frame.y_offset * stride + std::int64_t{3} * frame.x_offset;
  if (!WebPDecodeRGBInto(frame.fragment.bytes, frame.fragment.size, out.pixels.data<std::uint8_t>() + first,
                         static_cast<std::size_t>(out.pixels.numel() - first), static_cast<int>(stride)))
    throw_error("{}: corrupt WebP: its pixels are damaged", name);
  WebPChunkIterator exif{};
  if (WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &exif))
    out.orientation = exif_orientation({exif.chunk.bytes, exif.chunk.size});
  WebPDemuxReleaseChunkIterator(&exif);
  return out;
}

}  // namespace vitral::data
