package Nucleus::Store;

# Reads back what the file sink has stored.  The data of an event is given as the bytes that stand
# in the file: a JSON decoder would lose big numbers, key order and spacing.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use File::Find ();

# All files of a store, sorted.
sub files {
    my ($dir) = @_;

    my @files;

    return if !-d $dir;

    # a directory or file may come and go while we look
    local $SIG{__WARN__} = sub { };
    File::Find::find(
        { no_chdir => 1, wanted => sub { push @files, $_ if /\.ndjson$/ && -f } }, $dir);

    return sort @files;
}

my %escape = (
    b => "\b", f => "\f", n => "\n", r => "\r", t => "\t",
    '"' => '"', '\\' => '\\', '/' => '/',
);

sub _unescape {
    my ($s) = @_;

    $s =~ s{\\(?:u([0-9a-fA-F]{4})|(.))}{defined $1 ? _utf8(hex $1) : $escape{$2}}ge;

    return $s;
}

sub _utf8 {
    my $c = chr $_[0];
    utf8::encode($c);
    return $c;
}

# One line as a hash: the attributes, "data" as bytes, "line" (the whole).  undef when it is not
# of the form that the sink writes.
sub event {
    my ($line) = @_;

    my ($head, $data) = $line =~ /^\{(.*?"data_sha256":"[0-9a-f]{64}"),"data":(\{.*\})\}\z/s
        or return;
    my %event = (data => $data, line => $line);

    while ($head =~ /\G,?"(\w+)":"([^"\\]*+(?:\\.[^"\\]*+)*+)"/gc) {
        my ($name, $value) = ($1, $2);
        return if exists $event{$name};
        $event{$name} = $value =~ /\\/ ? _unescape($value) : $value;
    }

    return if $head !~ /\G\z/gc;

    return \%event;
}

# Calls the code with each event of a store, file by file in the order of their lines; dies on a
# line that is none.
sub each_event {
    my ($dir, $code) = @_;

    for my $file (files($dir)) {
        open my $fh, '<:raw', $file or next;
        local $/ = "\n";

        while (my $line = <$fh>) {

            # the last one may still be being written
            last if $line !~ s/\n\z//;

            my $event = event($line)
                or die "not a line of the store in $file: " . substr($line, 0, 300) . "\n";
            $event->{file} = $file;
            $code->($event);
        }
    }
}

# All events of a store, in that order.
sub events {
    my ($dir) = @_;

    my @events;

    each_event($dir, sub { push @events, $_[0] });

    return @events;
}

# SHA-256 of the data as stored.
sub sha256 { return sha256_hex($_[0]{data}) }

1;
